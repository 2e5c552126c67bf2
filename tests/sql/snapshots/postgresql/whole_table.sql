-- public.employee
SELECT public.employee.id, public.employee.department, public.employee.manager 
FROM public.employee;
