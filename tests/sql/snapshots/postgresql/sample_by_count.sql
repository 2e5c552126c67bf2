-- public.customer
SELECT public.customer.id, public.customer.store 
FROM public.customer 
WHERE (store = 1
) AND (public.customer.id) IN (SELECT subset_sample.id 
FROM (SELECT public.customer.id AS id 
FROM public.customer 
WHERE (store = 1
) ORDER BY public.customer.id 
 LIMIT 100) AS subset_sample);
