def main() -> None:
    raise SystemExit("envcheck: commands are not wired yet")
