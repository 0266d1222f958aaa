package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/device"
	"crayon/internal/pool"
	"crayon/internal/store"
	"crayon/internal/view"
)

// poolInfo is the JSON of pool info.
type poolInfo struct {
	Name      string              `json:"name"`
	Digest    string              `json:"digest"`
	Bytes     int                 `json:"bytes"`
	Base      map[string]any      `json:"base"`
	Feature   map[string]any      `json:"feature"`
	Prompt    map[string]any      `json:"prompt"`
	Keep      int                 `json:"keep"`
	Rank      int                 `json:"rank"`
	Members   []poolMember        `json:"members"`
	Made      map[string]any      `json:"made"`
	Baselines []pool.BaselineSize `json:"baselines,omitempty"`
	Health    *pool.Health        `json:"health"`
	Map       *pool.Map           `json:"map"`
	Effect    map[string]float64  `json:"effect,omitempty"` // of each adapter on a probe's logits, root mean square
	Store     []pool.StoreCost    `json:"store,omitempty"`
	Missing   []string            `json:"missing,omitempty"` // what a complete card has and this one lacks
}

type poolMember struct {
	Name     string   `json:"name"`
	Rank     int      `json:"rank"`
	Shared   bool     `json:"shared"`
	Examples int      `json:"examples"`
	Covers   []string `json:"covers,omitempty"`
}

func (a *app) poolInfoCommand() *cobra.Command {
	var health, probe, costs, markdown bool
	var picture string
	cmd := &cobra.Command{
		Use: "info [FILE]", Short: "Print what a pool is made of, its health and its map", Args: args(0, 1, "a pool FILE at most"),
		Long: `Prints a pool's card: base model, training, data sets with their licences, limits,
adapters, and a map of what they cover. --health adds how alike the adapters are
and what of their rank they use; --probe also tries each on a prompt, which needs
the model; --map draws the map to a file; --markdown prints the card alone.`,
		Example: "  crayon pool info --health\n  crayon pool info mine.crayon --map mine.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.poolAt(args)
			if err != nil {
				return err
			}
			i, err := describePool(p)
			if err != nil {
				return err
			}
			if probe {
				if i.Effect, err = a.effects(cmd.Context(), p); err != nil {
					return err
				}
			}
			if costs {
				if i.Store, err = p.StoreCosts(); err != nil {
					return err
				}
			}
			if picture != "" {
				drawn, err := view.DrawMap(i.Map, p.Name, picture)
				if err != nil {
					return err
				}
				if err := store.WriteBytes(picture, drawn); err != nil {
					return err
				}
			}
			var card bytes.Buffer
			if err := p.WriteCard(&card); err != nil {
				return err
			}
			return a.emit(i, func(w io.Writer) {
				if markdown {
					io.Copy(w, &card)
					return
				}
				view.Pool(w, a.style(), p)
				if health || probe {
					view.Health(w, a.style(), i.Health, i.Effect)
				} else {
					view.HealthLine(w, a.style(), i.Health)
				}
				storeText(w, i.Store)
				fmt.Fprintln(w, "map        of what the adapters cover")
				view.MapText(w, a.style(), i.Map)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&health, "health", false, "also print each adapter's norm and rank use, and how alike they are")
	f.BoolVar(&probe, "probe", false, "also try each adapter on a prompt; needs the model")
	f.BoolVar(&costs, "store", false, "also print what other storage types would cost")
	f.BoolVar(&markdown, "markdown", false, "print the card alone, as Markdown")
	f.StringVar(&picture, "map", "", "draw the map to `FILE` (.svg or .png)")
	return cmd
}

func describePool(p *crayon.Pool) (*poolInfo, error) {
	m := &p.Made
	i := &poolInfo{Name: p.Name, Digest: p.Digest(), Bytes: p.Size(), Keep: p.Keep, Rank: p.Rank(),
		Base:    map[string]any{"name": p.Base.Name, "digest": p.Base.Digest, "lineage": p.Base.Lineage, "layers": p.Base.Shape.Layers, "dim": p.Base.Shape.Dim},
		Feature: map[string]any{"name": p.Feature.Name, "layer": p.Feature.Layer, "text": p.Feature.Text, "max_tokens": p.Feature.MaxTokens, "tau": p.Feature.Tau},
		Prompt:  map[string]any{"system": p.Prompt.System, "template": p.Prompt.Template},
		Made: map[string]any{"created": m.Created, "seed": m.Seed, "data": m.Data, "files": m.Files, "datasets": m.DataSets(), "licences": m.Licences, "licence": m.Licence, "licence_note": m.LicenceNote(),
			"loss": m.Loss, "examples": m.Examples, "steps": m.Steps, "seconds": m.Seconds, "workers": m.Workers, "device": m.Device, "program": m.Program, "recipe": m.Recipe,
			"limits": m.Limits, "changes": m.Changes, "store": m.Store, "store_error": m.StoreError},
		Baselines: p.BaselineSizes(), Missing: p.Missing(),
	}
	for _, x := range p.Members {
		i.Members = append(i.Members, poolMember{x.Name, x.Rank, x.Shared, x.Examples, x.Covers})
	}
	var err error
	if i.Health, err = p.Health(); err != nil {
		return nil, err
	}
	i.Map, err = p.Map()
	return i, err
}

// effects are how far each adapter alone, at weight 1, moves the logits of a probe.
func (a *app) effects(ctx context.Context, p *crayon.Pool) (map[string]float64, error) {
	model, err := a.modelPath()
	if err != nil {
		return nil, err
	}
	d, err := device.Open(ctx, model, p, device.Options{Threads: a.set.Threads})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out := map[string]float64{}
	for i, m := range p.Members {
		w := make([]float32, len(p.Members))
		w[i] = 1
		if out[m.Name], err = d.Effect(ctx, d.Row(w)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func storeText(w io.Writer, costs []pool.StoreCost) {
	if len(costs) == 0 {
		return
	}
	fmt.Fprintln(w, "store      what other storage types of the sides would cost, against those in the file")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range costs {
		fmt.Fprintf(t, "  %s\t%s\t%.2f %%\n", c.Type, humanize.Bytes(uint64(c.Bytes)), 100*c.Error)
	}
	t.Flush()
}
