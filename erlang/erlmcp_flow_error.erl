%% @private
%% @doc Errors of the programmer: raised as `badarg' with `error_info' (EEP 54),
%% so that the shell says which argument is wrong and why.
-module(erlmcp_flow_error).

-export([badarg/2, format_error/2]).

%% @doc Raises `badarg' for a call with `Args', of which the ones named in
%% `Causes' (position => why) are wrong. The stack trace starts at the caller.
-spec badarg(Args :: [term()], Causes :: #{pos_integer() => unicode:chardata()}) ->
    no_return().
badarg(Args, Causes) ->
    erlang:error(badarg, Args, [{error_info, #{module => ?MODULE, cause => Causes}}]).

%% @private
%% @doc Called by the shell and the logger for an error raised by `badarg/2'.
-spec format_error(term(), list()) -> #{pos_integer() | general | reason => unicode:chardata()}.
format_error(_Reason, [{_M, _F, _A, Info} | _]) ->
    case proplists:get_value(error_info, Info, #{}) of
        #{cause := Causes} when is_map(Causes) -> Causes;
        _ -> #{}
    end;
format_error(_Reason, _Stack) ->
    #{}.
