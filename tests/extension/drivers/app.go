package main

import (
	"database/sql"
	"fmt"
	"os"

	"github.com/mattn/go-sqlite3"
)

// LOAD

func run() error {
	if err := loadMvsqlite(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", os.Args[1]+"?_journal=WAL&_sync=NORMAL&_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err = db.Exec("CREATE TABLE IF NOT EXISTS note(text); INSERT INTO note VALUES ('go')"); err != nil {
		return err
	}
	var text string
	if err = db.QueryRow("SELECT group_concat(text, ' ') FROM note").Scan(&text); err != nil {
		return err
	}
	fmt.Println(text)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
