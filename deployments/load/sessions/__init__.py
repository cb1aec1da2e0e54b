"""What is sent: sessions of users and agents, drawn from streams or read from traces."""
