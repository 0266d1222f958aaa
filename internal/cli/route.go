package cli

import (
	"io"

	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) routeCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "route", Short: "Device or server: see, set and check how it is decided"})
	cmd.AddCommand(a.routeExplainCommand(), a.routeCalibrateCommand(), a.routeStatusCommand(), a.routeReplayCommand(), a.routeTestCommand(), a.routeHarvestCommand())
	return cmd
}

func (a *app) routeExplainCommand() *cobra.Command {
	var side, context, choices string
	cmd := &cobra.Command{
		Use: "explain [NAME] QUERY", Short: "Print every number behind the decision for one query; nothing is sent",
		Args: args(1, 2, "a QUERY, after the NAME of a customisation or alone"), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, query := "", args[len(args)-1]
			if len(args) == 2 {
				name = args[0]
			}
			force, err := parseSide(side)
			if err != nil {
				return err
			}
			c, custom, err := a.openWith(cmd.Context(), name)
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := c.Session(custom).Explain(cmd.Context(), crayon.Question{Text: query, Side: force, Context: context, Choices: crayon.SplitChoices(choices)})
			if err != nil {
				return err
			}
			result := map[string]any{"name": name, "query": query, "decision": d}
			return a.emit(result, func(w io.Writer) { io.WriteString(w, d.Explain()) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&side, "route", "", "force a side: device or server")
	f.StringVar(&context, "context", "", "background `TEXT` for the query")
	f.StringVar(&choices, "choices", "", choicesHelp)
	settingFlags(f, "server.url", "route.mode", "route.samples")
	return cmd
}
