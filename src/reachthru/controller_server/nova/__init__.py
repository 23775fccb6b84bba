"""Server groups as Nova knows them: its API's snapshots, kept fresh by its notifications."""
