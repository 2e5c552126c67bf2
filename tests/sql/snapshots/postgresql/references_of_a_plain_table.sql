-- public.customer
SELECT public.customer.id, public.customer.store 
FROM public.customer 
WHERE (store = 1
);

-- what is missing, asked of the target
SELECT CAST(public.payment.rental AS TEXT) AS rental 
FROM public.payment 
WHERE public.payment.rental IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.rental 
WHERE public.rental.id = public.payment.rental)) GROUP BY public.payment.rental ORDER BY public.payment.rental;

-- public.rental, fetched from the source
SELECT public.rental.id, public.rental.customer, public.rental.day 
FROM public.rental 
WHERE EXISTS (SELECT 1 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted 
WHERE wanted.id = public.rental.id);
