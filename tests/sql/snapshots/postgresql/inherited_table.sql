-- public.plant
WITH RECURSIVE subset_place AS 
(SELECT public.place.id AS id 
FROM public.place 
WHERE (id = 1
)), 
subset_cycle_plant(tag, k0_0) AS 
(SELECT 0 AS tag, CAST(public.plant.id AS integer) AS k0_0 
FROM ONLY public.plant 
WHERE EXISTS (SELECT 1 
FROM subset_place 
WHERE subset_place.id = public.plant.place) UNION SELECT subset_cycle_plant_step.tag AS tag, subset_cycle_plant_step.k0_0 AS k0_0 
FROM subset_cycle_plant JOIN LATERAL (SELECT 0 AS tag, CAST(public.plant.id AS integer) AS k0_0 
FROM ONLY public.plant 
WHERE public.plant.up = subset_cycle_plant.k0_0 AND subset_cycle_plant.tag = 0) AS subset_cycle_plant_step ON true)
 SELECT public.plant.id, public.plant.place, public.plant.up 
FROM ONLY public.plant 
WHERE EXISTS (SELECT 1 
FROM subset_cycle_plant 
WHERE subset_cycle_plant.tag = 0 AND subset_cycle_plant.k0_0 = public.plant.id);

-- public.tree
SELECT public.tree.id, public.tree.place, public.tree.up, public.tree.height 
FROM public.tree;

-- into pg_temp.subset_doomed_rows
CREATE TEMP TABLE subset_doomed_rows AS WITH RECURSIVE subset_doomed_seeds AS 
(SELECT 0 AS tag, CAST(public.plant.id AS integer) AS k0_0 
FROM ONLY public.plant 
WHERE public.plant.place IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.place 
WHERE public.place.id = public.plant.place)) UNION ALL SELECT 0 AS tag, CAST(public.plant.id AS integer) AS k0_0 
FROM ONLY public.plant 
WHERE public.plant.up IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM ONLY public.plant AS parent 
WHERE parent.id = public.plant.up))), 
subset_doomed(tag, k0_0) AS 
(SELECT subset_doomed_seeds.tag AS tag, subset_doomed_seeds.k0_0 AS k0_0 
FROM subset_doomed_seeds UNION SELECT subset_doomed_step.tag AS tag, subset_doomed_step.k0_0 AS k0_0 
FROM subset_doomed JOIN LATERAL (SELECT 0 AS tag, CAST(public.plant.id AS integer) AS k0_0 
FROM ONLY public.plant 
WHERE public.plant.up = subset_doomed.k0_0 AND subset_doomed.tag = 0) AS subset_doomed_step ON true)
 SELECT subset_doomed.tag, subset_doomed.k0_0 
FROM subset_doomed;

-- public.plant, left out of the target
DELETE FROM ONLY public.plant WHERE EXISTS (SELECT 1 
FROM pg_temp.subset_doomed_rows 
WHERE pg_temp.subset_doomed_rows.tag = 0 AND pg_temp.subset_doomed_rows.k0_0 = public.plant.id);

-- public.plant, left out of the target
DELETE FROM ONLY public.plant WHERE public.plant.place IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.place 
WHERE public.place.id = public.plant.place));

-- public.plant, left out of the target
DELETE FROM ONLY public.plant WHERE public.plant.up IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM ONLY public.plant AS parent 
WHERE parent.id = public.plant.up));
