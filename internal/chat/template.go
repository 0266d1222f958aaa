// Package chat renders conversations with a model's own chat template (Jinja,
// as Hugging Face's tokenizers apply it) and knows which bytes of the result
// are the users' own words.
package chat

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// ChatML is the prompt form of the default pool: every turn between
// <|im_start|> and <|im_end|>, and no system turn unless one is given.
const ChatML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// Bounds of one conversation.
const (
	maxMessages = 4096
	maxContent  = 16 << 20 // bytes, all messages together
)

// Template is a compiled chat template, safe for concurrent use.
type Template struct {
	bos, eos string
	source   string

	mu     sync.Mutex // rendering charges budget, and the engine keeps state in its tree
	tpl    *exec.Template
	budget *budget
	limit  time.Duration // of one rendering
}

// New compiles a template; bos and eos are the texts of those tokens. Sources
// over 64 KiB and constructs outside what chat templates use are refused.
func New(source, bos, eos string) (t *Template, err error) {
	fail := func(err error) (*Template, error) {
		return nil, &fault.Error{Op: "compile chat template", Err: err,
			Hint: "use a pool, whose prompt form replaces the model's own template, or a model with a plain one"}
	}
	defer func() {
		if p := recover(); p != nil {
			t, err = fail(fmt.Errorf("the template engine gave up: %v", p))
		}
	}()
	switch {
	case strings.TrimSpace(source) == "":
		return fail(errors.New("the template is empty"))
	case len(source) > maxSource:
		return fail(fmt.Errorf("the template has %d bytes, at most %d are read", len(source), maxSource))
	case !utf8.ValidString(source):
		return fail(errors.New("the template is not UTF-8"))
	}
	cfg := config.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true // as transformers sets them
	if err := vet(source, cfg); err != nil {
		return fail(err)
	}
	const name = "/chat_template"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return fail(err)
	}
	t = &Template{bos: bos, eos: eos, source: source, limit: renderTime, budget: newBudget(0, renderTime)}
	if t.tpl, err = exec.NewTemplate(name, cfg, loader, t.environment()); err != nil {
		return fail(brief(err))
	}
	return t, nil
}

// FromGGUF compiles the template inside a model file.
func FromGGUF(f *gguf.File) (*Template, error) {
	source, ok := f.String("tokenizer.chat_template")
	if !ok {
		return nil, &fault.Error{Op: "read chat template", Path: f.Path(), Err: errors.New("tokenizer.chat_template is missing"),
			Hint: "use an instruct model, or a pool, whose prompt form takes the template's place"}
	}
	names, _ := f.Strings("tokenizer.ggml.tokens")
	name := func(key string) string {
		if id, ok := f.Uint(key); ok && id < uint64(len(names)) {
			return names[id]
		}
		return ""
	}
	t, err := New(source, name("tokenizer.ggml.bos_token_id"), name("tokenizer.ggml.eos_token_id"))
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) {
			e.Path = f.Path()
		}
		return nil, err
	}
	return t, nil
}

// Source is the template's text.
func (t *Template) Source() string { return t.source }

// Render renders msgs, with the opening of an assistant turn when generation is
// set. Prompt.Content is exact: a template that changes contents otherwise than
// by trimming white space is an error, never a guess.
func (t *Template) Render(msgs []Message, generation bool) (Prompt, error) {
	fail := func(err error, hint string) (Prompt, error) {
		return Prompt{}, &fault.Error{Op: "render chat template", Err: err, Hint: hint}
	}
	total, err := validate(msgs)
	if err != nil {
		return fail(err, "send messages as [{\"role\": \"user\", \"content\": \"...\"}]")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	marked, marks := mark(t.source, msgs)
	skeleton, err := t.execute(marked, generation, total)
	if err != nil {
		return fail(err, "check the order of the roles: many templates want user and assistant to alternate")
	}
	plain, err := t.execute(msgs, generation, total)
	if err != nil {
		return fail(err, "check the order of the roles: many templates want user and assistant to alternate")
	}
	p, ok := align(plain, skeleton, marks, msgs)
	if !ok {
		return fail(errors.New("the template rewrites message contents, so text and control tokens cannot be told apart"),
			"leave reasoning marks such as </think> out of earlier turns, or use a pool's own prompt form")
	}
	return p, nil
}

// validate checks roles, sizes and encoding; it returns the bytes of content.
func validate(msgs []Message) (int, error) {
	if len(msgs) == 0 {
		return 0, errors.New("no messages")
	}
	if len(msgs) > maxMessages {
		return 0, fmt.Errorf("%d messages, at most %d", len(msgs), maxMessages)
	}
	total := 0
	for i, m := range msgs {
		switch m.Role {
		case "system", "user", "assistant", "tool":
		default:
			return 0, fmt.Errorf("message %d has role %q; roles are system, user, assistant, tool", i+1, m.Role)
		}
		if !utf8.ValidString(m.Content) {
			return 0, fmt.Errorf("message %d is not UTF-8", i+1)
		}
		total += len(m.Content)
	}
	if total > maxContent {
		return 0, fmt.Errorf("%d bytes of content, at most %d", total, maxContent)
	}
	return total, nil
}

// execute runs the template once; the lock is held.
func (t *Template) execute(msgs []Message, generation bool, total int) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the template engine gave up: %v", p)
		}
	}()
	list := make([]any, len(msgs))
	for i, m := range msgs {
		list[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	t.budget = newBudget(total, t.limit)
	var out strings.Builder
	err = t.tpl.Execute(&counted{&out, t.budget}, exec.NewContext(map[string]any{
		"messages": list, "add_generation_prompt": generation,
		"bos_token": t.bos, "eos_token": t.eos, "tools": nil, "documents": nil,
	}))
	if t.budget.cause != nil {
		return "", t.budget.cause
	}
	if err != nil {
		return "", brief(err)
	}
	return out.String(), nil
}

// brief cuts the engine's long chains of wrapping, which quote the template,
// down to the last cause.
func brief(err error) error {
	msg := err.Error()
	if len(msg) > 300 {
		msg = "..." + strings.ToValidUTF8(msg[len(msg)-300:], "")
	}
	return errors.New(msg)
}
