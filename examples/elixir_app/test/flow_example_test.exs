defmodule FlowExampleTest do
  use ExUnit.Case

  test "JSON both ways" do
    json = ~s({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather"}})
    {:ok, message} = :erlmcp_flow_serializer.decode(json, %{format: :json})
    assert message["params"] == %{"name" => "get_weather"}
    {:ok, again} = FlowExample.round_trip(json)
    assert {:ok, ^message} = :erlmcp_flow_serializer.decode(again, %{format: :json})
  end

  test "terms both ways, structs and atoms included" do
    term = %{uri: URI.parse("file:///a"), when: ~D[2026-01-01], n: 2 ** 80}
    {:ok, bytes} = :erlmcp_flow_serializer.encode(term)
    assert {:ok, ^term} = :erlmcp_flow_serializer.decode(bytes)
  end

  test "an error is a tagged tuple" do
    assert {:error, {:invalid, _offset}} =
             :erlmcp_flow_serializer.decode("{\"a\":", %{format: :json})

    assert {:error, {:bad_option, :formt, :json}} =
             :erlmcp_flow_serializer.decode("{}", %{formt: :json})
  end

  test "a supervised instance delivers batches in order" do
    FlowExample.send_all(self(), Enum.to_list(1..250))
    assert collect(250) == Enum.to_list(1..250)
  end

  test "compression" do
    text = String.duplicate("the same words again and again ", 200)
    assert {:compressed, bytes} = :erlmcp_flow_compressor.compress_if_needed(text)
    assert byte_size(bytes) < 1000
    assert :erlmcp_flow_compressor.decompress({:compressed, bytes}) == text
  end

  test "docs in the shell: h/1 finds the Erlang docs when they were built" do
    case Code.fetch_docs(:erlmcp_flow_serializer) do
      {:docs_v1, _, :erlang, _, _, _, docs} -> assert docs != []
      {:error, _} -> :ok
    end
  end

  defp collect(0), do: []

  defp collect(n) do
    receive do
      {:erlmcp_flow_batch, messages} -> messages ++ collect(n - length(messages))
    after
      2_000 -> flunk("#{n} messages missing")
    end
  end
end
