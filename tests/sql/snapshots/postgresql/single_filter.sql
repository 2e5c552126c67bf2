-- public.customer
SELECT public.customer.id, public.customer.store 
FROM public.customer 
WHERE (store = 1
);
