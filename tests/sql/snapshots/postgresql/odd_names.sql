-- Odd %s :x.it's "here" 日本
SELECT "Odd %s :x"."it's ""here"" 日本"."select", "Odd %s :x"."it's ""here"" 日本"."a%b:c" 
FROM "Odd %s :x"."it's ""here"" 日本" 
WHERE ("a%b:c" LIKE ':x%' AND 'it''s' <> '\'
);

-- Odd %s :x.collation
WITH RECURSIVE "subset_it's ""here"" 日本" AS 
(SELECT "Odd %s :x"."it's ""here"" 日本"."select" AS "select" 
FROM "Odd %s :x"."it's ""here"" 日本" 
WHERE ("a%b:c" LIKE ':x%' AND 'it''s' <> '\'
)), 
subset_cycle_collation(tag, k0_0) AS 
(SELECT 0 AS tag, CAST("Odd %s :x"."collation"."Up" AS integer) AS k0_0 
FROM "Odd %s :x"."collation" 
WHERE EXISTS (SELECT 1 
FROM "subset_it's ""here"" 日本" 
WHERE "subset_it's ""here"" 日本"."select" = "Odd %s :x"."collation"."to.it") UNION SELECT subset_cycle_collation_step.tag AS tag, subset_cycle_collation_step.k0_0 AS k0_0 
FROM subset_cycle_collation JOIN LATERAL (SELECT 0 AS tag, CAST("Odd %s :x"."collation"."Up" AS integer) AS k0_0 
FROM "Odd %s :x"."collation" 
WHERE "Odd %s :x"."collation"."order" = subset_cycle_collation.k0_0 AND subset_cycle_collation.tag = 0) AS subset_cycle_collation_step ON true)
 SELECT "Odd %s :x"."collation"."Up", "Odd %s :x"."collation"."to.it", "Odd %s :x"."collation"."order" 
FROM "Odd %s :x"."collation" 
WHERE EXISTS (SELECT 1 
FROM subset_cycle_collation 
WHERE subset_cycle_collation.tag = 0 AND subset_cycle_collation.k0_0 = "Odd %s :x"."collation"."Up");
