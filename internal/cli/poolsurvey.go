package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"crayon/internal/pooltrain"
)

func (a *app) poolSurveyCommand() *cobra.Command {
	var data []string
	var recipe string
	var rows int
	cmd := &cobra.Command{
		Use: "survey --data DIR", Short: "Say how many adapters training data ask for", Args: args(0, 0, ""),
		Long: `Groups a recipe's rows into different numbers of clusters, as pool train does, and
says which are really there: two clusterings of different rows are compared on
rows that neither has seen. The largest number that recurs about as well as the
best is named; "adapters:" in the recipe takes it.`,
		Example: "  crayon pool survey --data qa --recipe recipe.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := pooltrain.ParseRecipe([]byte("name: pool\n"))
			if recipe != "" {
				r, err = pooltrain.ReadRecipe(recipe)
			}
			if err != nil {
				return err
			}
			if len(data)+len(r.Sources) == 0 {
				return usage(errors.New("no data is named, neither here nor in the recipe"), cmd.CommandPath()+" --data DIR")
			}
			model, err := a.modelPath()
			if err != nil {
				return err
			}
			from, err := a.openData(cmd.Context(), data, r.Sources)
			if err != nil {
				return err
			}
			show, done := a.progress()
			c, err := pooltrain.Survey(cmd.Context(), pooltrain.Options{
				Model: model, ModelName: a.set.Model, Data: from, Recipe: r, Workers: a.set.Threads,
				Progress: func(s pooltrain.Stage) { show(stageText(s), s.Done, max(s.Total, 1)) },
			}, rows)
			done()
			if err != nil {
				return err
			}
			return a.emit(c, func(w io.Writer) { surveyText(w, c) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&data, "data", nil, dataHelp+"; may be given several times")
	f.StringVar(&recipe, "recipe", "", "the recipe, a YAML `FILE`; docs/pool.md lists its keys")
	f.IntVar(&rows, "rows", 6000, "rows to look at; 0: all")
	return cmd
}

func surveyText(w io.Writer, c *pooltrain.Clusters) {
	fmt.Fprintf(w, "rows       %s, judged on the third that no clustering has seen\n", humanize.Comma(int64(c.Rows)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "  adapters\tcohesion\tstability\tsmallest\t")
	for _, x := range c.Tried {
		mark := ""
		if x.N == c.Chosen {
			mark = "  <- chosen"
		}
		fmt.Fprintf(t, "  %d\t%.3f\t%.3f\t%.1f %%\t%s\n", x.N, x.Cohesion, x.Stability, 100*x.Smallest, mark)
	}
	t.Flush()
	fmt.Fprintf(w, "chosen     %d: the most whose stability is at least 0.9 of the best\n", c.Chosen)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range c.Groups {
		fmt.Fprintf(t, "  %s rows\t%s\n", humanize.Comma(int64(g.Rows)), strings.Join(g.Covers, ", "))
	}
	t.Flush()
}
