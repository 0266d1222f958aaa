package cli

import (
	"context"

	"crayon/internal/qa"
)

// dataHelp says what --data takes.
const dataHelp = "question-answer `DATA`: a folder, hf://OWNER/DATASET, a .parquet, .jsonl or .csv file, or a .yaml file of sources (docs/data.md)"

// openData opens what --data names and a recipe's sources; the hub is asked
// only where one of them is the hub's.
func (a *app) openData(ctx context.Context, names []string, sources []qa.Source) (*qa.Data, error) {
	return qa.Load(ctx, names, sources, func(ctx context.Context, address string, want func([]string) ([]string, error)) (qa.Hub, error) {
		p, done, err := a.puller()
		if err != nil {
			return qa.Hub{}, err
		}
		defer done()
		d, err := p.Dataset(ctx, address, want)
		return qa.Hub{Address: d.Address, Files: d.Files}, err
	})
}
