package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rename OLD NEW", Aliases: []string{"mv"}, Short: "Give a customisation another name", Args: args(2, 2, "the OLD and the NEW name"),
		ValidArgsFunction: a.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			if err := lib.Rename(args[0], args[1]); err != nil {
				return err
			}
			return a.emit(map[string]string{"from": args[0], "to": args[1]}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is now %s\n", args[0], args[1])
			})
		},
	}
}
