package strategy

import (
	"slices"

	"crayon/internal/chat"
	"crayon/internal/task"
)

// MaxShots is how many tokens a prompt with worked examples keeps.
const MaxShots = 1536

// Prompt is the ask in tokens, as candidates are scored after it: the last
// task.MaxPrompt, as in training; with worked examples the last MaxShots.
func (a *Ask) Prompt(f *task.Form) ([]int32, error) {
	prompt, err := f.Shots(a.Shots, a.Text)
	if err != nil {
		return nil, err
	}
	limit := task.MaxPrompt
	if len(a.Shots) > 0 {
		limit = MaxShots
	}
	return task.Cut(prompt, limit), nil
}

// Turns are the tokens of a conversation that is answered, worked examples after
// its system turn. Where it is longer than MaxShots, the first of those give way.
func Turns(f *task.Form, msgs []chat.Message, shots []task.Shot) ([]int32, error) {
	at := 0
	if len(msgs) > 0 && msgs[0].Role == "system" {
		at = 1
	}
	for ; ; shots = shots[1:] {
		all := slices.Clone(msgs[:at])
		for _, s := range shots {
			all = append(all, chat.Message{Role: "user", Content: s.Text}, chat.Message{Role: "assistant", Content: s.Answer})
		}
		prompt, err := f.Chat(append(all, msgs[at:]...))
		if err != nil || len(shots) == 0 || len(prompt) <= MaxShots {
			return prompt, err
		}
	}
}
