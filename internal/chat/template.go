// Package chat renders conversations with a model's own chat template.
package chat

// Template is a compiled chat template.
type Template struct{ source, bos, eos string }

// New compiles a template.
func New(source, bos, eos string) (*Template, error) {
	return &Template{source, bos, eos}, nil
}

// Render renders msgs.
func (t *Template) Render(msgs []Message, generation bool) (Prompt, error) { return Prompt{}, nil }
