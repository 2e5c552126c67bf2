-- public.c
WITH subset_p AS 
(SELECT public.p.code AS code 
FROM public.p 
WHERE (id = 1
))
 SELECT public.c.id, public.c.code 
FROM public.c 
WHERE EXISTS (SELECT 1 
FROM subset_p 
WHERE subset_p.code = public.c.code);

-- what is missing, asked of the target
SELECT CAST(public.c.code AS TEXT) AS code 
FROM public.c 
WHERE public.c.code IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.p 
WHERE public.p.code = public.c.code)) GROUP BY public.c.code ORDER BY public.c.code;

-- public.p, fetched from the source
SELECT public.p.id, public.p.code 
FROM public.p 
WHERE EXISTS (SELECT 1 
FROM (SELECT CAST(anon_1.k0 AS character varying) AS code 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted 
WHERE wanted.code = public.p.code);
