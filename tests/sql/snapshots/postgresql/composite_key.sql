-- public.ticket
WITH subset_seat AS 
(SELECT public.seat.number AS number, public.seat.hall AS hall 
FROM public.seat 
WHERE (hall = 1
))
 SELECT public.ticket.id, public.ticket.n, public.ticket.h 
FROM public.ticket 
WHERE EXISTS (SELECT 1 
FROM subset_seat 
WHERE subset_seat.number = public.ticket.n AND subset_seat.hall = public.ticket.h);
