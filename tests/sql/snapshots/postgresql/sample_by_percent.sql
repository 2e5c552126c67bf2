-- public.customer
SELECT public.customer.id, public.customer.store 
FROM public.customer 
WHERE abs(hashtextextended(CAST(public.customer.id AS TEXT), 7) % 1000000) < 25000;

-- public.rental
WITH subset_customer AS 
(SELECT public.customer.id AS id 
FROM public.customer 
WHERE abs(hashtextextended(CAST(public.customer.id AS TEXT), 7) % 1000000) < 25000)
 SELECT public.rental.id, public.rental.customer, public.rental.day 
FROM public.rental 
WHERE EXISTS (SELECT 1 
FROM subset_customer 
WHERE subset_customer.id = public.rental.customer);
