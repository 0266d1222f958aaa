package benchhybrid

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// Decisions are crayon's at one share sent, on rows that its fit had not seen.
type Decisions struct {
	rows           []Row
	device, server []float64 // 1 where a side is right
	sent           []bool
	share          float64
	asked          string // the server's form
	settings       JudgeOptions
}

// Decide makes crayon's decision on each row with a share sent, 0 to 1, of rows
// that were judged.
func Decide(ctx context.Context, rows []Row, f *Figures, share float64) (*Decisions, error) {
	if !(share >= 0 && share <= 1) {
		return nil, &fault.Error{Op: "export decisions", Err: fmt.Errorf("a share of %v is sent, not 0 to 1", share), Exit: fault.ExitUsage, Hint: "--export-share 0.3"}
	}
	fresh := &Figures{Servers: map[string]*VariantFigure{}}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return compareRows(&a, &b) })
	d := &Decisions{rows: fresh.asked(rows), share: share, asked: fresh.Asked, settings: f.Settings}
	y := outcomesOf(d.rows, d.asked)
	d.device, d.server, d.sent = y.device, y.server, make([]bool, len(d.rows))
	b := &bout{rows: d.rows, folds: foldsOf(d.rows, f.Settings.Seed), device: y.device, server: y.server}
	var err error
	if b.pDevice, b.pServer, err = crossed(ctx, d.rows, y, f.Settings.Seed); err != nil {
		return nil, err
	}
	order := b.fairly(b.order(difference(b.pServer, b.pDevice), f.Settings.Seed))
	for k, i := range order {
		d.sent[i] = float64(k) < share*float64(len(order))
	}
	return d, nil
}

// cost is what the server's answer to row i took; price is that in money.
func (d *Decisions) cost(i int) Cost {
	return d.rows[i].Costs[strings.TrimPrefix(strings.TrimPrefix(d.asked, byLetter), byLogProb)]
}

func (d *Decisions) price(i int) float64 {
	c := d.cost(i)
	return (d.settings.PriceIn*float64(c.Prompt) + d.settings.PriceOut*float64(c.Completion)) / 1e6
}
