package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your customisations", Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			entries, err := lib.List()
			if err != nil {
				return err
			}
			return a.emit(map[string]any{"customisations": entries}, func(w io.Writer) { listText(w, entries) })
		},
	}
}

func listText(w io.Writer, entries []crayon.Entry) {
	if len(entries) == 0 {
		fmt.Fprintln(w, "no customisations yet; crayon customize NAME -f EXAMPLES makes one")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tEXAMPLES\tLABELS\tMODEL\tAGAINST BASE\tCHANGED")
	for _, e := range entries {
		if e.Damaged != "" {
			fmt.Fprintf(t, "%s\tcannot be read: %s\n", e.Name, e.Damaged)
			continue
		}
		verdict := e.Verdict
		if verdict == "" {
			verdict = "-"
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", e.Name, e.Examples, e.Labels, e.Model, verdict, humanize.Time(e.Changed))
	}
	t.Flush()
}
