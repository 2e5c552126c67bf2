-- public.d
WITH subset_a AS 
(SELECT public.a.id AS id 
FROM public.a 
WHERE (x LIKE 'y%' -- all of them
)), 
subset_b AS 
(SELECT public.b.id AS id 
FROM public.b 
WHERE EXISTS (SELECT 1 
FROM subset_a 
WHERE subset_a.id = public.b.a)), 
subset_c AS 
(SELECT public.c.id AS id 
FROM public.c 
WHERE EXISTS (SELECT 1 
FROM subset_b 
WHERE subset_b.id = public.c.b))
 SELECT public.d.id, public.d.c 
FROM public.d 
WHERE EXISTS (SELECT 1 
FROM subset_c 
WHERE subset_c.id = public.d.c);
