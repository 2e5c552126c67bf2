-- public.employee
WITH RECURSIVE subset_cycle_employee(tag, k0_0) AS 
(SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE (id > 7
) UNION SELECT subset_cycle_employee_step.tag AS tag, subset_cycle_employee_step.k0_0 AS k0_0 
FROM subset_cycle_employee JOIN LATERAL (SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE (id > 7
) AND public.employee.manager = subset_cycle_employee.k0_0 AND subset_cycle_employee.tag = 0) AS subset_cycle_employee_step ON true)
 SELECT public.employee.id, public.employee.department, public.employee.manager 
FROM public.employee 
WHERE EXISTS (SELECT 1 
FROM subset_cycle_employee 
WHERE subset_cycle_employee.tag = 0 AND subset_cycle_employee.k0_0 = public.employee.id);

-- into pg_temp.subset_doomed_rows
CREATE TEMP TABLE subset_doomed_rows AS WITH RECURSIVE subset_doomed_seeds AS 
(SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE public.employee.department IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.department 
WHERE public.department.id = public.employee.department)) UNION ALL SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE public.employee.manager IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.employee AS parent 
WHERE parent.id = public.employee.manager))), 
subset_doomed(tag, k0_0) AS 
(SELECT subset_doomed_seeds.tag AS tag, subset_doomed_seeds.k0_0 AS k0_0 
FROM subset_doomed_seeds UNION SELECT subset_doomed_step.tag AS tag, subset_doomed_step.k0_0 AS k0_0 
FROM subset_doomed JOIN LATERAL (SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE public.employee.manager = subset_doomed.k0_0 AND subset_doomed.tag = 0) AS subset_doomed_step ON true)
 SELECT subset_doomed.tag, subset_doomed.k0_0 
FROM subset_doomed;

-- public.employee, left out of the target
DELETE FROM public.employee WHERE EXISTS (SELECT 1 
FROM pg_temp.subset_doomed_rows 
WHERE pg_temp.subset_doomed_rows.tag = 0 AND pg_temp.subset_doomed_rows.k0_0 = public.employee.id);

-- public.employee, left out of the target
DELETE FROM public.employee WHERE public.employee.department IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.department 
WHERE public.department.id = public.employee.department));

-- public.employee, left out of the target
DELETE FROM public.employee WHERE public.employee.manager IS NOT NULL AND NOT (EXISTS (SELECT 1 
FROM public.employee AS parent 
WHERE parent.id = public.employee.manager));
