package benchhybrid

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"crayon/internal/fault"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }

// arena is a decision in the form of RouterArena's prediction files.
type arena struct {
	Index      string  `json:"global index"`
	Prompt     string  `json:"prompt"`
	Prediction string  `json:"prediction"` // the model the query was sent to
	Result     result  `json:"generated_result"`
	Cost       float64 `json:"cost"`
	Accuracy   float64 `json:"accuracy"`
}

type result struct {
	Answer  string `json:"generated_answer"` // a choice's letter; "" names none
	Success bool   `json:"success"`
	Usage   usage  `json:"token_usage"`
}

type usage struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
	Total  int64 `json:"total_tokens"`
}

// WriteArena writes crayon's decision on each row with a share sent, as
// RouterArena reads predictions. prompts are the queries' texts by PromptKey;
// device and server name the models.
func WriteArena(ctx context.Context, w io.Writer, rows []Row, f *Figures, share float64, prompts map[string]string, device, server string) error {
	fresh := &Figures{Servers: map[string]*VariantFigure{}}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return compareRows(&a, &b) })
	rows = fresh.asked(rows)
	var y outcomes
	for i := range rows {
		r := &rows[i]
		y.device, y.bare, y.server = append(y.device, r.right(r.Picks[Custom])), append(y.bare, r.right(r.Picks[Base])), append(y.server, r.right(r.Server[fresh.Asked]))
	}
	b := &bout{rows: rows, device: y.device, server: y.server}
	var err error
	if b.pDevice, b.pServer, err = crossed(ctx, rows, y, f.Settings.Seed); err != nil {
		return err
	}
	order := b.order(difference(b.pServer, b.pDevice), f.Settings.Seed)
	sent := make([]bool, len(rows))
	for k, i := range order {
		sent[i] = float64(k) < share*float64(len(order))
	}
	out := make([]arena, len(rows))
	for i := range rows {
		r := &rows[i]
		a := arena{Index: PromptKey(r.User, r.Dataset, r.ID), Prediction: device, Accuracy: y.device[i], Result: result{Answer: letterOf(r.Picks[Custom]), Success: true}}
		a.Prompt = prompts[a.Index]
		if sent[i] {
			c := r.Costs[strings.TrimPrefix(strings.TrimPrefix(fresh.Asked, byLetter), byLogProb)]
			a.Prediction, a.Accuracy = server, y.server[i]
			a.Result = result{letterOf(r.Server[fresh.Asked]), true, usage{c.Prompt, c.Completion, c.Prompt + c.Completion}}
			a.Cost = (f.Settings.PriceIn*float64(c.Prompt) + f.Settings.PriceOut*float64(c.Completion)) / 1e6
		}
		out[i] = a
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return &fault.Error{Op: "export decisions", Err: err}
	}
	return nil
}

func letterOf(pick int) string {
	if pick < 0 || pick >= len(letters) {
		return ""
	}
	return letters[pick : pick+1]
}

// PromptKey names a query.
func PromptKey(user, dataset, id string) string { return user + "/" + dataset + "/" + id }

// Prompts are the texts that the server is asked without examples, by PromptKey.
func Prompts(parts []*Part) map[string]string {
	out := map[string]string{}
	for _, p := range parts {
		for i := range p.Queries {
			q := &p.Queries[i]
			if len(q.Choices) <= len(letters) {
				out[PromptKey(p.name(), q.Dataset, q.ID)] = lettered(q.Question, q.Context, q.Choices)
			}
		}
	}
	return out
}
