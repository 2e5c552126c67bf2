-- public.goal
SELECT public.goal.id, public.goal.player 
FROM public.goal 
WHERE (id = 1
);

-- what is missing, asked of the target
SELECT CAST(public.goal.player AS TEXT) AS player 
FROM public.goal 
WHERE public.goal.player IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.player 
WHERE public.player.id = public.goal.player)) GROUP BY public.goal.player ORDER BY public.goal.player;

-- public.player, fetched from the source
WITH RECURSIVE subset_upwards(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(wanted.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted UNION SELECT subset_upwards_step.tag AS tag, subset_upwards_step.k0_0 AS k0_0, subset_upwards_step.k1_0 AS k1_0 
FROM subset_upwards JOIN LATERAL (SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.player.team AS integer) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND public.player.id = subset_upwards.k0_0 AND subset_upwards.tag = 0 UNION ALL SELECT 0 AS tag, CAST(public.team.captain AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND public.team.id = subset_upwards.k1_0 AND subset_upwards.tag = 1) AS subset_upwards_step ON true)
 SELECT public.player.id, public.player.team, public.player.age 
FROM public.player 
WHERE EXISTS (SELECT 1 
FROM subset_upwards 
WHERE subset_upwards.tag = 0 AND subset_upwards.k0_0 = public.player.id);

-- public.team, fetched from the source
WITH RECURSIVE subset_upwards(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(wanted.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted UNION SELECT subset_upwards_step.tag AS tag, subset_upwards_step.k0_0 AS k0_0, subset_upwards_step.k1_0 AS k1_0 
FROM subset_upwards JOIN LATERAL (SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.player.team AS integer) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND public.player.id = subset_upwards.k0_0 AND subset_upwards.tag = 0 UNION ALL SELECT 0 AS tag, CAST(public.team.captain AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND public.team.id = subset_upwards.k1_0 AND subset_upwards.tag = 1) AS subset_upwards_step ON true)
 SELECT public.team.id, public.team.league, public.team.captain 
FROM public.team 
WHERE EXISTS (SELECT 1 
FROM subset_upwards 
WHERE subset_upwards.tag = 1 AND subset_upwards.k1_0 = public.team.id);

-- what is missing, asked of the target
SELECT CAST(public.team.captain AS TEXT) AS captain 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.player 
WHERE public.player.id = public.team.captain)) GROUP BY public.team.captain ORDER BY public.team.captain;

-- public.player, fetched from the source
WITH RECURSIVE subset_upwards(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(wanted.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted UNION SELECT subset_upwards_step.tag AS tag, subset_upwards_step.k0_0 AS k0_0, subset_upwards_step.k1_0 AS k1_0 
FROM subset_upwards JOIN LATERAL (SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.player.team AS integer) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND public.player.id = subset_upwards.k0_0 AND subset_upwards.tag = 0 UNION ALL SELECT 0 AS tag, CAST(public.team.captain AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND public.team.id = subset_upwards.k1_0 AND subset_upwards.tag = 1) AS subset_upwards_step ON true)
 SELECT public.player.id, public.player.team, public.player.age 
FROM public.player 
WHERE EXISTS (SELECT 1 
FROM subset_upwards 
WHERE subset_upwards.tag = 0 AND subset_upwards.k0_0 = public.player.id);

-- public.team, fetched from the source
WITH RECURSIVE subset_upwards(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(wanted.id AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted UNION SELECT subset_upwards_step.tag AS tag, subset_upwards_step.k0_0 AS k0_0, subset_upwards_step.k1_0 AS k1_0 
FROM subset_upwards JOIN LATERAL (SELECT 1 AS tag, CAST(NULL AS bigint) AS k0_0, CAST(public.player.team AS integer) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND public.player.id = subset_upwards.k0_0 AND subset_upwards.tag = 0 UNION ALL SELECT 0 AS tag, CAST(public.team.captain AS bigint) AS k0_0, CAST(NULL AS integer) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND public.team.id = subset_upwards.k1_0 AND subset_upwards.tag = 1) AS subset_upwards_step ON true)
 SELECT public.team.id, public.team.league, public.team.captain 
FROM public.team 
WHERE EXISTS (SELECT 1 
FROM subset_upwards 
WHERE subset_upwards.tag = 1 AND subset_upwards.k1_0 = public.team.id);

-- what is missing, asked of the target
SELECT CAST(public.player.team AS TEXT) AS team 
FROM public.player 
WHERE public.player.team IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.team 
WHERE public.team.id = public.player.team)) GROUP BY public.player.team ORDER BY public.player.team;

-- public.team, fetched from the source
WITH RECURSIVE subset_upwards(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(wanted.id AS integer) AS k0_0, CAST(NULL AS bigint) AS k1_0 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted UNION SELECT subset_upwards_step.tag AS tag, subset_upwards_step.k0_0 AS k0_0, subset_upwards_step.k1_0 AS k1_0 
FROM subset_upwards JOIN LATERAL (SELECT 1 AS tag, CAST(NULL AS integer) AS k0_0, CAST(public.team.captain AS bigint) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND public.team.id = subset_upwards.k0_0 AND subset_upwards.tag = 0 UNION ALL SELECT 0 AS tag, CAST(public.player.team AS integer) AS k0_0, CAST(NULL AS bigint) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND public.player.id = subset_upwards.k1_0 AND subset_upwards.tag = 1) AS subset_upwards_step ON true)
 SELECT public.team.id, public.team.league, public.team.captain 
FROM public.team 
WHERE EXISTS (SELECT 1 
FROM subset_upwards 
WHERE subset_upwards.tag = 0 AND subset_upwards.k0_0 = public.team.id);

-- public.player, fetched from the source
WITH RECURSIVE subset_upwards(tag, k0_0, k1_0) AS 
(SELECT 0 AS tag, CAST(wanted.id AS integer) AS k0_0, CAST(NULL AS bigint) AS k1_0 
FROM (SELECT CAST(anon_1.k0 AS bigint) AS id 
FROM unnest('{"1"}'::text[]) AS anon_1(k0)) AS wanted UNION SELECT subset_upwards_step.tag AS tag, subset_upwards_step.k0_0 AS k0_0, subset_upwards_step.k1_0 AS k1_0 
FROM subset_upwards JOIN LATERAL (SELECT 1 AS tag, CAST(NULL AS integer) AS k0_0, CAST(public.team.captain AS bigint) AS k1_0 
FROM public.team 
WHERE public.team.captain IS NOT NULL AND public.team.id = subset_upwards.k0_0 AND subset_upwards.tag = 0 UNION ALL SELECT 0 AS tag, CAST(public.player.team AS integer) AS k0_0, CAST(NULL AS bigint) AS k1_0 
FROM public.player 
WHERE public.player.team IS NOT NULL AND public.player.id = subset_upwards.k1_0 AND subset_upwards.tag = 1) AS subset_upwards_step ON true)
 SELECT public.player.id, public.player.team, public.player.age 
FROM public.player 
WHERE EXISTS (SELECT 1 
FROM subset_upwards 
WHERE subset_upwards.tag = 1 AND subset_upwards.k1_0 = public.player.id);
