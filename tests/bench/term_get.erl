%% The cost of persistent_term:get/1 for a large term that never changes; librpt is the equivalent for C.
%%
%%     erl -noshell -pa DIR -s term_get main ROUNDS
%%
%% Prints the nanoseconds of one get, a line for each round.
-module(term_get).
-export([main/1]).

-define(GETS, 10000000).

main([Rounds]) ->
    persistent_term:put(flags, binary:copy(<<"x">>, 4096)),
    loop(?GETS div 10),
    lists:foreach(fun(_) -> measure() end, lists:seq(1, list_to_integer(atom_to_list(Rounds)))),
    halt(0).

measure() ->
    Start = erlang:monotonic_time(nanosecond),
    loop(?GETS div 10),
    io:format("~.3f~n", [(erlang:monotonic_time(nanosecond) - Start) / ?GETS]).

%% Ten at a time, so that the loop itself costs little.
loop(0) -> ok;
loop(N) ->
    persistent_term:get(flags), persistent_term:get(flags),
    persistent_term:get(flags), persistent_term:get(flags),
    persistent_term:get(flags), persistent_term:get(flags),
    persistent_term:get(flags), persistent_term:get(flags),
    persistent_term:get(flags), persistent_term:get(flags),
    loop(N - 1).
