// Command alcove serves many tenants their own knowledge bases from one data
// folder. One file a subcommand; settings.go is the only reader of flags,
// environment and files, models.go chooses the implementations of engine's
// interfaces, serve.go puts the rooms together. `alcove help` lists the commands.
package main
