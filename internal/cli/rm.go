package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Remove a customisation (crayon undo brings it back)", Args: args(1, 1, "the NAME of a customisation"),
		ValidArgsFunction: a.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			if err := lib.Remove(args[0]); err != nil {
				return err
			}
			return a.emit(map[string]string{"removed": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "removed %s; crayon undo %s brings it back\n", args[0], args[0])
			})
		},
	}
}

func (a *app) undoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "undo NAME", Short: "Take back the last change of a customisation", Args: args(1, 1, "the NAME of a customisation"),
		ValidArgsFunction: a.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			if err := lib.Undo(args[0]); err != nil {
				return err
			}
			return a.emit(map[string]string{"restored": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is as it was before its last change\n", args[0])
			})
		},
	}
}
