package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"crayon/internal/build"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version, commit, Go version and kernel level", Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := build.Read()
			return a.emit(v, func(w io.Writer) {
				fmt.Fprintf(w, "crayon %s\ncommit   %s\ngo       %s, %s\nkernel   %s\n", v.Version, v.Commit, v.Go, v.Platform, v.Kernel)
			})
		},
	}
}
