-- public.t
SELECT public.t.a, public.t.b 
FROM public.t 
WHERE abs(hashtextextended(concat_ws('|', CAST(public.t.b AS TEXT), CAST(public.t.a AS TEXT)), 0) % 1000000) < 50000;
