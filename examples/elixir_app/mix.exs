defmodule FlowExample.MixProject do
  use Mix.Project

  def project do
    [
      app: :flow_example,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [{:erlmcp_flow, path: "../..", manager: :rebar3}]
    ]
  end

  def application, do: [mod: {FlowExample, []}, extra_applications: [:logger]]
end
