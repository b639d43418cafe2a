"""What `lstm inspect` shows of a trained run: measures as tables, pictures and pages."""
