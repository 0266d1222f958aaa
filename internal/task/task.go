// Package task turns a question into the prompt a pool was trained with, so
// that training, customising, answering and benchmarking say the same tokens.
package task

import (
	"strings"

	"crayon/internal/chat"
	"crayon/internal/tokenizer"
)

// MaxPrompt is how many tokens of a prompt are kept, cut from the left, when
// an answer is trained or scored after it.
const MaxPrompt = 384

// MaxAnswer is how many tokens of an answer are trained or scored.
const MaxAnswer = 96

// Text is the user's turn: context, question, and for a label task its labels.
func Text(question, context string, labels []string) string {
	var b strings.Builder
	if context != "" {
		b.WriteString(context)
		b.WriteString("\n")
	}
	b.WriteString(question)
	if len(labels) > 0 {
		b.WriteString("\nOptions:")
		for _, l := range labels {
			b.WriteString("\n- ")
			b.WriteString(l)
		}
	}
	return b.String()
}

// Letters name choices that are asked for by letter; a question with more has
// no such form.
const Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// Lettered is the user's turn of a question that is to be answered with the
// letter of one of its choices, at most len(Letters) of them.
func Lettered(question, context string, choices []string) string {
	var b strings.Builder
	if context != "" {
		b.WriteString(context + "\n\n")
	}
	b.WriteString(question + "\n")
	for i, c := range choices {
		b.WriteString("\n" + Letters[i:i+1] + ". " + c)
	}
	return b.String()
}

// Form renders prompts the way a pool was trained: its own system text (or
// none) and its own template.
type Form struct {
	Tokenizer *tokenizer.Tokenizer
	Template  *chat.Template
	System    string // "" for no system turn
	End       int32  // the token that ends an answer
}

// Chat encodes a conversation up to where the assistant's answer begins.
// Special tokens inside message contents stay text.
func (f *Form) Chat(msgs []chat.Message) ([]int32, error) {
	if f.System != "" && (len(msgs) == 0 || msgs[0].Role != "system") {
		msgs = append([]chat.Message{{Role: "system", Content: f.System}}, msgs...)
	}
	p, err := f.Template.Render(msgs, true)
	if err != nil {
		return nil, err
	}
	return f.Tokenizer.EncodeTemplate(p.Text, p.Content), nil
}

// Prompt encodes one user turn up to where the answer begins.
func (f *Form) Prompt(text string) ([]int32, error) {
	return f.Chat([]chat.Message{{Role: "user", Content: text}})
}

// Shots encodes worked examples, each a turn of user and assistant, before text.
func (f *Form) Shots(shots []Shot, text string) ([]int32, error) {
	msgs := make([]chat.Message, 0, 2*len(shots)+1)
	for _, s := range shots {
		msgs = append(msgs, chat.Message{Role: "user", Content: s.Text}, chat.Message{Role: "assistant", Content: s.Answer})
	}
	return f.Chat(append(msgs, chat.Message{Role: "user", Content: text}))
}

// Shot is one worked example: a user turn and its answer.
type Shot struct{ Text, Answer string }

// Answer encodes an answer with the token that ends it, at most MaxAnswer tokens.
func (f *Form) Answer(text string) []int32 {
	ids := append(f.Tokenizer.Encode(text), f.End)
	return ids[:min(len(ids), MaxAnswer)]
}

// Cut keeps the last most tokens of a prompt, one at least.
func Cut(prompt []int32, most int) []int32 {
	return prompt[max(0, len(prompt)-max(1, most)):]
}
