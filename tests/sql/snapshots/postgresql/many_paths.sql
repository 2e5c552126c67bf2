-- public.c
WITH subset_p AS 
(SELECT public.p.code AS code, public.p.id AS id 
FROM public.p 
WHERE (id = 1
))
 SELECT c.id, c.p0, c.p1, c.p2, c.p3, c.p4, c.p5, c.code, c.words 
FROM (SELECT public.c.id AS id, public.c.p0 AS p0, public.c.p1 AS p1, public.c.p2 AS p2, public.c.p3 AS p3, public.c.p4 AS p4, public.c.p5 AS p5, public.c.code AS code, public.c.words AS words 
FROM public.c 
WHERE (words <> ''
)) AS c LEFT OUTER JOIN subset_p AS via_code ON via_code.code = c.code LEFT OUTER JOIN subset_p AS via_p0 ON via_p0.id = c.p0 LEFT OUTER JOIN subset_p AS via_p1 ON via_p1.id = c.p1 LEFT OUTER JOIN subset_p AS via_p2 ON via_p2.id = c.p2 LEFT OUTER JOIN subset_p AS via_p3 ON via_p3.id = c.p3 LEFT OUTER JOIN subset_p AS via_p4 ON via_p4.id = c.p4 LEFT OUTER JOIN subset_p AS via_p5 ON via_p5.id = c.p5 
WHERE via_code.code IS NOT NULL OR via_p0.id IS NOT NULL OR via_p1.id IS NOT NULL OR via_p2.id IS NOT NULL OR via_p3.id IS NOT NULL OR via_p4.id IS NOT NULL OR via_p5.id IS NOT NULL;
