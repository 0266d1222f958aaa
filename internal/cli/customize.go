package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/examples"
	"crayon/internal/view"
)

func (a *app) customizeCommand() *cobra.Command {
	var file, url string
	var labels []string
	var noProof, template bool
	var add string
	var remove []int
	var o crayon.CustomizeOptions
	cmd := &cobra.Command{
		Use: "customize NAME -f EXAMPLES", Aliases: []string{"customise"}, Short: "Make your own LLM from a few examples, and prove what it is worth",
		Long: `Makes the customisation NAME from an example file: CSV with the header
question,answer[,choices][,context] (choices separated by |), JSON lines with the
same fields, OpenAI chat lines, or plain lines of questions. "-f -" reads standard
input. Answers that repeat become the label set; --labels names it yourself.

The customisation is usable as soon as it is made. Examples with answers then
choose, within --time, the strategy that does best on examples left out; another
than the first is stored as a new version. --strategy fits the one it names. The
proof that follows leaves examples out of all that, choice and fit, and compares
with the base model, with the shared adapter alone, and with examples in the
prompt; --no-proof leaves proof and search out. An existing NAME is replaced, and
the old one kept as a version (crayon undo NAME).

--add and --remove change a customisation that is there: it is blended anew at once,
and what became of each weight is shown. crayon show NAME --examples numbers them.

With --pool-url the pool's adapters are on a server (crayon pool serve), which is
sent the weights of the blend, to three decimals, and nothing else of the examples;
crayon ledger shows them. What comes back is kept: the server is not needed again.`,
		Example: "  crayon customize --template > mine.csv\n  crayon customize mine -f mine.csv",
		Args: func(cmd *cobra.Command, given []string) error {
			if template {
				return args(0, 0, "")(cmd, given)
			}
			return args(1, 1, "the NAME of the customisation")(cmd, given)
		},
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if template {
				return a.emit(map[string]string{"template": examples.Template()}, func(w io.Writer) { io.WriteString(w, examples.Template()) })
			}
			if add != "" || len(remove) > 0 {
				if file != "" || len(labels) > 0 || o.Keep != 0 || o.Strategy != "" || url != "" {
					return usage(errBoth, "crayon customize "+args[0]+" --add more.csv")
				}
				return a.amend(cmd, args[0], add, remove, !noProof)
			}
			if file == "" {
				return usage(errNoFile, "crayon customize "+args[0]+" -f mine.csv")
			}
			if err := crayon.CheckName(args[0]); err != nil {
				return err
			}
			set, err := crayon.ReadExamples(file, labels...)
			if err != nil {
				return err
			}
			if noProof && !cmd.Flags().Changed("time") {
				o.Time = 0
			}
			if o.Strategy != "" && crayon.AboutStrategy(o.Strategy) == "" {
				return usage(fmt.Errorf("no strategy %q", o.Strategy), "strategies: "+strings.Join(crayon.Strategies(), ", "))
			}
			return a.customize(cmd, url, args[0], set, o, !noProof)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "the example `FILE`, - for standard input")
	f.StringSliceVar(&labels, "labels", nil, "the label set, as `a,b,c`")
	f.StringVar(&add, "add", "", "add the examples of `FILE` to a customisation that is there")
	f.IntSliceVar(&remove, "remove", nil, "remove the examples of these `NUMBERS` from it")
	f.BoolVar(&noProof, "no-proof", false, "leave the proof out")
	f.IntVar(&o.Keep, "keep", 0, "how many adapters to keep; 0 the pool's default, -1 all")
	f.DurationVar(&o.Time, "time", defaultTime, "how long the search for a better strategy may take on 2 cores, about; 0 none")
	f.StringVar(&o.Strategy, "strategy", "", "fit the strategy of this `NAME` (docs/customize.md lists them)")
	f.StringVar(&url, "pool-url", "", "blend on the server of a pool at `URL`, as http://127.0.0.1:8323")
	f.BoolVar(&template, "template", false, "print an example file to start from, and do nothing else")
	return cmd
}

// defaultTime of the search for a better strategy.
const defaultTime = 20 * time.Second

func (a *app) customize(cmd *cobra.Command, url, name string, set *crayon.Examples, o crayon.CustomizeOptions, prove bool) error {
	c, err := a.open(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	if set.Duplicates > 0 {
		a.warn(fmt.Sprintf("%d rows say the same as earlier ones and were left out", set.Duplicates))
	}
	var custom *crayon.Customisation
	if url == "" {
		custom, err = c.Customize(cmd.Context(), name, set, o)
	} else {
		custom, err = c.CustomizeFrom(cmd.Context(), url, name, set, o)
	}
	if err != nil {
		return err
	}
	p, err := custom.PoolOf(c.Pool())
	if err != nil {
		return err
	}
	w := a.text()
	fmt.Fprintf(w, "%s is ready: crayon run %s\n", name, name)
	if custom, err = a.improve(cmd, c, custom, o); err != nil {
		return err
	}
	view.Made(w, custom)
	view.From(w, custom)
	view.Plan(w, custom)
	view.Blend(w, a.style(), p, custom)
	view.Prompts(w, custom)
	if err := a.prove(cmd, c, custom, prove); err != nil {
		return err
	}
	return a.emit(describe(c.Library, p, custom), nil)
}

// prove proves a customisation and keeps the proof, where it has the answers for one.
func (a *app) prove(cmd *cobra.Command, c *crayon.Crayon, custom *crayon.Customisation, prove bool) error {
	w := a.text()
	switch answered := withAnswer(custom); {
	case answered == 0:
		fmt.Fprintln(w, "answers    none in the file: with them it would choose among their labels, where they repeat, and prove what it is worth")
	case !prove:
	case answered < leastProof:
		fmt.Fprintf(w, "proof      not with fewer than %d answered examples\n", leastProof)
	default:
		show, done := a.progress()
		proof, err := c.Prove(cmd.Context(), custom, func(n, total int) { show("proof", n, total) })
		done()
		if err != nil {
			return err
		}
		if err := c.KeepProof(custom, proof); err != nil {
			return err
		}
		view.Proof(w, a.style(), proof)
	}
	return nil
}

// improve looks for a better strategy, or fits the one that was asked for.
func (a *app) improve(cmd *cobra.Command, c *crayon.Crayon, custom *crayon.Customisation, o crayon.CustomizeOptions) (*crayon.Customisation, error) {
	show, done := a.progress()
	better, err := c.Improve(cmd.Context(), custom, o, func(n, total int) { show("strategies", n, total) })
	done()
	return better, err
}

// leastProof is how many answered examples a proof needs.
const leastProof = 4

// withAnswer counts the examples that have an answer.
func withAnswer(c *crayon.Customisation) int {
	n := 0
	for _, e := range c.Examples {
		if e.Labelled {
			n++
		}
	}
	return n
}
