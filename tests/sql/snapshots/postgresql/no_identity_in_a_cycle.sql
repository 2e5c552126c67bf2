-- public.node
WITH RECURSIVE subset_top AS 
(SELECT public.top.id AS id 
FROM public.top 
WHERE (id = 1
)), 
subset_cycle_node(tag, k0_0) AS 
(SELECT 0 AS tag, CAST(public.node.id AS integer) AS k0_0 
FROM public.node 
WHERE (words <> ''
) AND (EXISTS (SELECT 1 
FROM subset_top 
WHERE subset_top.id = public.node.top)) UNION SELECT subset_cycle_node_step.tag AS tag, subset_cycle_node_step.k0_0 AS k0_0 
FROM subset_cycle_node JOIN LATERAL (SELECT 0 AS tag, CAST(public.node.id AS integer) AS k0_0 
FROM public.node 
WHERE (words <> ''
) AND public.node.up = subset_cycle_node.k0_0 AND subset_cycle_node.tag = 0) AS subset_cycle_node_step ON true)
 SELECT public.node.id, public.node.up, public.node.top, public.node.words 
FROM public.node 
WHERE (words <> ''
) AND ((EXISTS (SELECT 1 
FROM subset_top 
WHERE subset_top.id = public.node.top)) OR (EXISTS (SELECT 1 
FROM subset_cycle_node 
WHERE subset_cycle_node.tag = 0 AND subset_cycle_node.k0_0 = public.node.up)));
