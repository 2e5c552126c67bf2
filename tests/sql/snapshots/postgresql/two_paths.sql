-- public.payment
WITH subset_customer AS 
(SELECT public.customer.id AS id 
FROM public.customer 
WHERE (store = 1
)), 
subset_rental AS 
(SELECT public.rental.id AS id 
FROM public.rental 
WHERE EXISTS (SELECT 1 
FROM subset_customer 
WHERE subset_customer.id = public.rental.customer))
 SELECT public.payment.id, public.payment.customer, public.payment.rental 
FROM public.payment 
WHERE EXISTS (SELECT 1 
FROM subset_customer 
WHERE subset_customer.id = public.payment.customer) UNION ALL SELECT public.payment.id, public.payment.customer, public.payment.rental 
FROM public.payment 
WHERE NOT (EXISTS (SELECT 1 
FROM subset_customer 
WHERE subset_customer.id = public.payment.customer)) AND (EXISTS (SELECT 1 
FROM subset_rental 
WHERE subset_rental.id = public.payment.rental));
