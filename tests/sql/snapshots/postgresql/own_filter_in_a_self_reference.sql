-- public.employee
WITH RECURSIVE subset_cycle_employee(tag, k0_0) AS 
(SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE (id = 7
) UNION SELECT subset_cycle_employee_step.tag AS tag, subset_cycle_employee_step.k0_0 AS k0_0 
FROM subset_cycle_employee JOIN LATERAL (SELECT 0 AS tag, CAST(public.employee.id AS integer) AS k0_0 
FROM public.employee 
WHERE (id = 7
) AND public.employee.manager = subset_cycle_employee.k0_0 AND subset_cycle_employee.tag = 0) AS subset_cycle_employee_step ON true)
 SELECT public.employee.id, public.employee.department, public.employee.manager 
FROM public.employee 
WHERE EXISTS (SELECT 1 
FROM subset_cycle_employee 
WHERE subset_cycle_employee.tag = 0 AND subset_cycle_employee.k0_0 = public.employee.id);
