package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) routeHarvestCommand() *cobra.Command {
	var drop bool
	cmd := &cobra.Command{
		Use: "harvest NAME", Short: "Show the server's answers that may become examples",
		Long: `With route.harvest: ask, what the server answered under a customisation is kept as
candidate examples. Look through the file, delete what is wrong, and add the rest:

  crayon customize NAME --add FILE

which blends anew and keeps the old version. Nothing becomes an example by itself.`,
		Args: args(1, 1, "the NAME of a customisation"), ValidArgsFunction: a.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			if _, err := lib.Load(args[0]); err != nil {
				return err
			}
			if drop {
				if err := lib.DropCandidates(args[0]); err != nil {
					return err
				}
			}
			all, path, err := lib.Candidates(args[0])
			if err != nil {
				return err
			}
			result := map[string]any{"name": args[0], "file": path, "candidates": append([]crayon.Candidate{}, all...)}
			return a.emit(result, func(w io.Writer) {
				for _, c := range all {
					fmt.Fprintf(w, "%s  %s\n", strings.Join(strings.Fields(c.Question), " "), a.style().Dim(strings.Join(strings.Fields(c.Answer), " ")))
				}
				if len(all) == 0 {
					fmt.Fprintln(w, "there are none; CRAYON_ROUTE_HARVEST=ask keeps them")
					return
				}
				fmt.Fprintf(w, "look through %s, then: crayon customize %s --add %s\n", path, args[0], path)
			})
		},
	}
	cmd.Flags().BoolVar(&drop, "drop", false, "forget them all")
	return cmd
}
