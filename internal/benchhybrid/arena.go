package benchhybrid

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/task"
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

// WriteArena writes crayon's decisions as RouterArena reads predictions. prompts
// are the queries' texts by PromptKey; device and server name the models.
func WriteArena(w io.Writer, d *Decisions, prompts map[string]string, device, server string) error {
	out := make([]arena, len(d.rows))
	for i := range d.rows {
		r := &d.rows[i]
		a := arena{Index: PromptKey(r.User, r.Dataset, r.ID), Prediction: device, Accuracy: d.device[i], Result: result{Answer: letterOf(r.Picks[Custom]), Success: true}}
		a.Prompt = prompts[a.Index]
		if d.sent[i] {
			c := d.cost(i)
			a.Prediction, a.Accuracy = server, d.server[i]
			a.Result = result{letterOf(r.Server[d.asked]), true, usage{c.Prompt, c.Completion, c.Prompt + c.Completion}}
			a.Cost = d.price(i)
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
				out[PromptKey(p.name(), q.Dataset, q.ID)] = task.Lettered(q.Question, q.Context, q.Choices)
			}
		}
	}
	return out
}
