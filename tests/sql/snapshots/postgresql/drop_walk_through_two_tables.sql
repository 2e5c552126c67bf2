-- public.team
WITH RECURSIVE subset_cycle_player(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(public.player.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.player 
WHERE (age > 20
) UNION SELECT subset_cycle_player_step.tag AS tag, subset_cycle_player_step.k0_0 AS k0_0, subset_cycle_player_step.k1_0 AS k1_0 
FROM subset_cycle_player JOIN LATERAL (SELECT 0 AS tag, CAST(public.player.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.player 
WHERE (age > 20
) AND public.player.team = subset_cycle_player.k1_0 AND subset_cycle_player.tag = 1 UNION ALL SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.team.id AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain = subset_cycle_player.k0_0 AND subset_cycle_player.tag = 0) AS subset_cycle_player_step ON true)
 SELECT public.team.id, public.team.league, public.team.captain 
FROM public.team 
WHERE EXISTS (SELECT 1 
FROM subset_cycle_player 
WHERE subset_cycle_player.tag = 1 AND subset_cycle_player.k1_0 = public.team.id);

-- into pg_temp.subset_doomed_rows
CREATE TEMP TABLE subset_doomed_rows AS WITH RECURSIVE subset_doomed_seeds AS 
(SELECT 0 AS tag, CAST(public.player.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.team 
WHERE public.team.id = public.player.team)) UNION ALL SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.team.id AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.player 
WHERE public.player.id = public.team.captain))), 
subset_doomed(tag, k0_0, k1_0) AS 
(SELECT subset_doomed_seeds.tag AS tag, subset_doomed_seeds.k0_0 AS k0_0, subset_doomed_seeds.k1_0 AS k1_0 
FROM subset_doomed_seeds UNION SELECT subset_doomed_step.tag AS tag, subset_doomed_step.k0_0 AS k0_0, subset_doomed_step.k1_0 AS k1_0 
FROM subset_doomed JOIN LATERAL (SELECT 0 AS tag, CAST(public.player.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.player 
WHERE public.player.team = subset_doomed.k1_0 AND subset_doomed.tag = 1 UNION ALL SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.team.id AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain = subset_doomed.k0_0 AND subset_doomed.tag = 0) AS subset_doomed_step ON true)
 SELECT subset_doomed.tag, subset_doomed.k0_0, subset_doomed.k1_0 
FROM subset_doomed;

-- public.player, left out of the target
DELETE FROM public.player WHERE EXISTS (SELECT 1 
FROM pg_temp.subset_doomed_rows 
WHERE pg_temp.subset_doomed_rows.tag = 0 AND pg_temp.subset_doomed_rows.k0_0 = public.player.id);

-- public.team, left out of the target
DELETE FROM public.team WHERE EXISTS (SELECT 1 
FROM pg_temp.subset_doomed_rows 
WHERE pg_temp.subset_doomed_rows.tag = 1 AND pg_temp.subset_doomed_rows.k1_0 = public.team.id);

-- public.player, left out of the target
DELETE FROM public.player WHERE public.player.team IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.team 
WHERE public.team.id = public.player.team));

-- public.team, left out of the target
DELETE FROM public.team WHERE public.team.captain IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.player 
WHERE public.player.id = public.team.captain));
