package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/view"
)

// changed is the JSON of what changes a customisation: its show, and the weights
// before and after.
type changed struct {
	*shown
	Changes []view.Change `json:"changes"`
}

func (a *app) weightsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "weights NAME [ADAPTER=WEIGHT ...]", Short: "Show a customisation's weights, or set some by hand",
		Long: `Shows the weight of each adapter that runs for the customisation NAME. With
ADAPTER=WEIGHT some are replaced, 0 leaving an adapter out; the others stay. The
result is tried on the model first, and has no proof any more. crayon undo NAME
takes it back.`,
		Example: "  crayon weights mine\n  crayon weights mine red=0.5 blue=0 shared=1",
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return args(1, 1, "the NAME of a customisation")(cmd, given)
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, given []string) error {
			weights, err := parseWeights(given[1:])
			if err != nil {
				return err
			}
			if len(weights) == 0 {
				return a.showWeights(given[0])
			}
			c, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			was, is, err := c.SetWeights(cmd.Context(), given[0], weights)
			if err != nil {
				return err
			}
			return a.emitChange(c, was, is)
		},
	}
}

func (a *app) showWeights(name string) error {
	lib, err := a.library()
	if err != nil {
		return err
	}
	custom, err := lib.Load(name)
	if err != nil {
		return err
	}
	p, err := a.pool()
	if err == nil {
		p, err = custom.PoolOf(p)
	}
	if err != nil {
		return err
	}
	return a.emit(describe(lib, p, custom), func(w io.Writer) { view.Blend(w, a.style(), p, custom) })
}

// emitChange gives out what became of a customisation.
func (a *app) emitChange(c *crayon.Crayon, was, is *crayon.Customisation) error {
	x := changed{describe(c.Library, c.Pool(), is), view.Changes(c.Pool(), was, is)}
	return a.emit(x, func(w io.Writer) {
		view.ChangeText(w, a.style(), c.Pool(), x.Changes)
		fmt.Fprintf(w, "%s is as shown; crayon undo %s takes it back\n", is.Name, is.Name)
	})
}

// parseWeights reads ADAPTER=WEIGHT arguments.
func parseWeights(given []string) ([]crayon.Weight, error) {
	var out []crayon.Weight
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		x, err := strconv.ParseFloat(value, 32)
		if !ok || name == "" || err != nil {
			return nil, usage(fmt.Errorf("%q is no ADAPTER=WEIGHT", g), "crayon weights NAME red=0.5")
		}
		out = append(out, crayon.Weight{Adapter: name, Weight: float32(x)})
	}
	return out, nil
}

// amend makes a customisation anew with rows of a file added ("": none) or
// examples removed.
func (a *app) amend(cmd *cobra.Command, name, file string, remove []int, prove bool) error {
	var add *crayon.Examples
	if file != "" {
		var err error
		if add, err = crayon.ReadExamples(file); err != nil {
			return err
		}
	}
	lib, err := a.library()
	if err != nil {
		return err
	}
	if !lib.Has(name) { // told before the model is opened
		_, err := lib.Load(name)
		return err
	}
	c, err := a.open(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	was, is, err := c.Amend(cmd.Context(), name, add, remove...)
	if err != nil {
		return err
	}
	p, err := is.PoolOf(c.Pool())
	if err != nil {
		return err
	}
	changes := view.Changes(p, was, is)
	w := a.text()
	fmt.Fprintf(w, "%s has %d examples now, it had %d; crayon undo %s takes it back\n", name, len(is.Examples), len(was.Examples), name)
	view.ChangeText(w, a.style(), p, changes)
	if err := a.prove(cmd, c, is, prove); err != nil {
		return err
	}
	return a.emit(changed{describe(c.Library, c.Pool(), is), changes}, nil)
}

var errBoth = errors.New("-f makes a customisation, --add and --remove change one: not both")
