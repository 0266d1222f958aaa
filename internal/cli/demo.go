package cli

import (
	"io"

	"github.com/spf13/cobra"

	"crayon/internal/demo"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo [DIR]", Short: "Customise from the example files and print a scoreboard on unseen questions", Args: args(0, 1, "the FOLDER of example files at most"),
		Long: `For every DIR/NAME.csv (default examples): customises, answers the unseen questions
of DIR/unseen/NAME.csv with the base model, with the customisation, and with the
weights of another user's, proves, and tells queries in and out of scope apart. Every
figure is measured as it is printed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "examples"
			if len(args) > 0 {
				dir = args[0]
			}
			c, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			show, done := a.progress()
			defer done()
			out := &cleared{w: a.text(), clear: done}
			text := &demo.Text{Out: out, Style: a.style(), Pool: c.Pool(), Progress: show}
			r, err := demo.Run(cmd.Context(), c, dir, text)
			if err != nil {
				return err
			}
			return a.emit(r, func(w io.Writer) {
				text.Out = w
				text.Finish(r)
			})
		},
	}
}

// cleared is a writer that takes the progress bar away before it writes.
type cleared struct {
	w     io.Writer
	clear func()
}

func (c *cleared) Write(p []byte) (int, error) {
	c.clear()
	return c.w.Write(p)
}
