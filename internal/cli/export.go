package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) exportCommand() *cobra.Command {
	var format, dir string
	cmd := &cobra.Command{
		Use: "export NAME --format peft|gguf --dir DIR", Short: "Write a customisation as an ordinary LoRA adapter",
		Long: `Writes the blend as one LoRA adapter of the base model, weights and scales folded
in: a folder for Hugging Face's peft, or a GGUF file for llama.cpp. It is read back,
and how far it is from the exact blend is printed.`,
		Args: args(1, 1, "the NAME of a customisation"), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			custom, err := lib.Load(args[0])
			if err != nil {
				return err
			}
			p, err := a.pool()
			if err != nil {
				return err
			}
			if dir == "" {
				dir = custom.Name + "-" + format
			}
			e, err := lib.Export(cmd.Context(), custom, p, format, dir)
			if err != nil {
				return err
			}
			return a.emit(e, func(w io.Writer) {
				fmt.Fprintf(w, "%s: one adapter of rank %d from %d, for %s\n", e.Name, e.Rank, e.Adapters, e.Base)
				for _, f := range e.Files {
					fmt.Fprintf(w, "  %s\n", f)
				}
				fmt.Fprintf(w, "residual   %.3g of the exact blend (Frobenius)\n", e.Residual)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", crayon.FormatPEFT, "peft or gguf")
	cmd.Flags().StringVar(&dir, "dir", "", "the folder to write to (default NAME-FORMAT)")
	return cmd
}
