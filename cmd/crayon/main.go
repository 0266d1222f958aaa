// Command crayon turns a user's examples into their own small LLM, on their own
// machine. The command line is package cli.
package main

import (
	"os"

	"crayon/internal/cli"
)

func main() { os.Exit(cli.Main(cli.Options{})) }
