package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/paint"
)

type evaluated struct {
	Name       string          `json:"name"`
	File       string          `json:"file"`
	Rows       int             `json:"rows"`
	Base       int             `json:"base"`
	Customised int             `json:"customised"`
	Answers    []crayon.Scored `json:"answers"` // given: by base, by the customisation
}

func (a *app) evalCommand() *cobra.Command {
	return &cobra.Command{
		Use: "eval NAME FILE", Short: "Score a customisation and the base model on a file of answered questions",
		Long:    "Answers the questions of FILE, which has the form of an example file, by choosing among the\nlabels or choices, with the base model and with the customisation, and counts the right ones.",
		Example: "  crayon eval bicycle-repair examples/unseen/bicycle-repair.csv",
		Args:    args(2, 2, "the NAME of a customisation and a FILE"), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := crayon.ReadExamples(args[1])
			if err != nil {
				return err
			}
			c, custom, err := a.openWith(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			show, done := a.progress()
			scored, err := c.Evaluate(cmd.Context(), custom, rows, []*crayon.Customisation{nil, custom}, func(n, total int) { show("questions", n, total) })
			done()
			if err != nil {
				return err
			}
			r := evaluated{Name: custom.Name, File: args[1], Rows: len(scored), Answers: scored}
			for _, s := range scored {
				if s.Given[0] == s.Right {
					r.Base++
				}
				if s.Given[1] == s.Right {
					r.Customised++
				}
			}
			return a.emit(r, func(w io.Writer) { a.evalText(w, r) })
		},
	}
}

func (a *app) evalText(w io.Writer, r evaluated) {
	style := a.style()
	fmt.Fprintln(w, "marks: base, customised")
	for _, s := range r.Answers {
		given := s.Given[1]
		if given != s.Right {
			given += style.Dim("  (right: " + s.Right + ")")
		}
		fmt.Fprintf(w, "  %s %s  %s  %s\n", style.Tick(s.Given[0] == s.Right), style.Tick(s.Given[1] == s.Right), paint.Pad(paint.Cut(s.Question, 50), 50), given)
	}
	fmt.Fprintf(w, "base %d/%d, customised %d/%d\n", r.Base, r.Rows, r.Customised, r.Rows)
}
