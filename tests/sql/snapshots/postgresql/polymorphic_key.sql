-- public.note
WITH subset_issue AS 
(SELECT public.issue.id AS id 
FROM public.issue 
WHERE (id = 1
)), 
subset_merge AS 
(SELECT public.merge.id AS id 
FROM public.merge 
WHERE (id = 2
))
 SELECT public.note.id, public.note.on_type, public.note.on_id 
FROM public.note 
WHERE (EXISTS (SELECT 1 
FROM subset_issue 
WHERE subset_issue.id = public.note.on_id AND public.note.on_type = 'Issue')) AND (EXISTS (SELECT 1 
FROM subset_merge 
WHERE subset_merge.id = public.note.on_id AND public.note.on_type = 'Merge''s'));

-- what is missing, asked of the target
SELECT CAST(public.note.on_id AS TEXT) AS on_id 
FROM public.note 
WHERE public.note.on_id IS NOT NULL AND public.note.on_type = 'Issue' AND NOT (EXISTS (SELECT 1 
FROM public.issue 
WHERE public.issue.id = public.note.on_id AND public.note.on_type = 'Issue')) GROUP BY public.note.on_id ORDER BY public.note.on_id;

-- public.issue, fetched from the source
SELECT public.issue.id 
FROM public.issue 
WHERE EXISTS (SELECT 1 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted 
WHERE wanted.id = public.issue.id);
