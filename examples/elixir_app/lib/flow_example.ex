defmodule FlowExample do
  @moduledoc """
  erlmcp_flow from Elixir: the Erlang modules are called as they are. Options are
  maps, text is binaries, errors are tagged tuples, and instances are supervised
  by their own child specs.
  """
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      # batch_size and batch_timeout as documented; the name registers it.
      :erlmcp_flow_batch_processor.child_spec(%{name: FlowExample.Batch, batch_timeout: 5})
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end

  @doc "A JSON request from the wire to a map and back."
  def round_trip(json) do
    with {:ok, message} <- :erlmcp_flow_serializer.decode(json, %{format: :json}) do
      :erlmcp_flow_serializer.encode(message, %{format: :json})
    end
  end

  @doc "Sends messages to a process in batches."
  def send_all(pid, messages) do
    Enum.each(messages, fn m ->
      :ok = :erlmcp_flow_batch_processor.send_message(FlowExample.Batch, pid, m)
    end)
  end
end
