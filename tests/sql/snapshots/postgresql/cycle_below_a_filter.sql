-- public.player
WITH RECURSIVE subset_league AS 
(SELECT public.league.id AS id 
FROM public.league 
WHERE (id = 1
)), 
subset_cycle_player(tag, k0_0, k1_0) AS 
(SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.team.id AS integer) AS k1_0 
FROM public.team 
WHERE EXISTS (SELECT 1 
FROM subset_league 
WHERE subset_league.id = public.team.league) UNION SELECT subset_cycle_player_step.tag AS tag, subset_cycle_player_step.k0_0 AS k0_0, subset_cycle_player_step.k1_0 AS k1_0 
FROM subset_cycle_player JOIN LATERAL (SELECT 0 AS tag, CAST(public.player.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.player 
WHERE (age > 20
) AND public.player.team = subset_cycle_player.k1_0 AND subset_cycle_player.tag = 1 UNION ALL SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.team.id AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain = subset_cycle_player.k0_0 AND subset_cycle_player.tag = 0) AS subset_cycle_player_step ON true)
 SELECT public.player.id, public.player.team, public.player.age 
FROM public.player 
WHERE EXISTS (SELECT 1 
FROM subset_cycle_player 
WHERE subset_cycle_player.tag = 0 AND subset_cycle_player.k0_0 = public.player.id);

-- public.team
WITH RECURSIVE subset_league AS 
(SELECT public.league.id AS id 
FROM public.league 
WHERE (id = 1
)), 
subset_cycle_player(tag, k0_0, k1_0) AS 
(SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.team.id AS integer) AS k1_0 
FROM public.team 
WHERE EXISTS (SELECT 1 
FROM subset_league 
WHERE subset_league.id = public.team.league) UNION SELECT subset_cycle_player_step.tag AS tag, subset_cycle_player_step.k0_0 AS k0_0, subset_cycle_player_step.k1_0 AS k1_0 
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
